"""Steps in containers: one container for each job, one exec for each step.

Owns everything that is asked of a Docker engine. Knows no pipeline and no events.

    connection  where the engine is, and a client of it
    calls       how long the client waits for an answer, and who need not wait at all
    labels      whose something in an engine is, and until when it is of use
    sweep       what killed runs left there
    image       pulling: when, with whose credentials, which image it was
    mapping     how a container gets the workspace, proved
    probe       the same for ``plan``
    freight     the workspace copied there and back, where an engine does not see it
    network     the networks of our own container, which jobs join
    ownership   who steps are, and whose the files are that they leave
    container   all that a job's container is given and may do
    script      what we have a container's own shell do
    stream      the output of an exec, frame by frame
    session     a job's steps, one exec each
    services    containers beside a job
    forward     their ports on our localhost, when we are in a container
    executor    all of it in order
"""
