"""Signalbox runs declared commands as steps of jobs and reports them to Datadog CI Visibility.

A pipeline file becomes a ``Pipeline`` (what was declared). A ``Plan`` says what to do, skip or stop
at, given the journal of earlier executions and the answers to gates. The engine carries the plan
out through executors and tells its observers what happened. The recorder, one observer, turns that
into events and appends them to the journal. The journal is the only state, and everything else
reads it: delivery sends what is unsent, ``plan`` finds what is left to do, reports show it.

A module imports only from rows above its own; one library has one home. ``tests/test_layers.py``
reads this map and the imports, and keeps both true::

    1  errors       the tree of expected errors, each with its exit code and its hint
       pipeline     what was declared: Pipeline, Job, Step, Gate, Parameter, Service
       execution    which run this is: identity, lineage, the ids of its parts, the clock
       event        what is reported, as the intake's data model has it; encoded to bytes once
       notice       what the engine tells: JobStarted, StepFinished, ...; Exit; History
    2  scope        which variables there are; $NAME in names, tags and images
       terminal     colours, marks, widths; what of a text may reach a screen
       manifest     YAML text -> Pipeline, or every mistake with line and column
       plan         Pipeline + History + answers -> Plan, matrix expanded
       seal         what later executions may believe of an earlier one; its signature
       timing       queue time, execution time, critical path
       failure      how a step ended + the end of its output -> error
       redact       streaming masker: the same result for every split of the stream
       files        what a step sees of us: its variables, the files it speaks through
       entries      what a step writes into its files: tags, measures, outputs
       outbox       what a signalbox inside a step reports, and what of it is believed
       state        the state directory: whose it is, which run is alive
    3  executors    the Executor contract; processes here, containers of a Docker engine
       providers    one file per host CI: its facts, log groups, outputs, job page
       commit       the commit under test
       keep         files that a job keeps: archived, put back elsewhere
       journal      the SQLite file: executions, events (an outbox), answers to gates
       intake       bytes -> HTTP -> what the answer means
       console      what a person sees while it runs
       report       an execution as a terminal tree, Markdown, a page, JUnit's XML, a trace
    4  engine       carry out a Plan: order, retries, time limits, cancel; tells its observers
       recorder     the observer that makes events: ids, times, tags, errors -> journal
       delivery     journal -> intake: batches, waiting, what is final, the time budget at exit
    5  viewer       `signalbox serve`: the intake's API and the pages over a store of its own
    6  cli          one file per command; reads the environment, makes the clock, exits

Modules of one row do not import each other, but for rows 1 and 2, where a module may import those
that stand before it.
"""

__version__ = "0.1.0"
