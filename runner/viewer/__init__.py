"""``signalbox serve``: a local CI Visibility, the intake's API and its pages on one port.

Owns a store of its own, never the build's; journals it reads and does not write. Loaded by
``signalbox serve`` alone. In the order in which one builds upon another::

    rows        what is given to those that show it
    check       what may come in: one request -> events, or every reason why not
    tables      the SQLite file: tables, keys, connections
    columns     an event as the narrow row that searches look at; two states of a thing as one
    lines       lines of jobs' logs
    outbox      what the relay has to deliver
    changes     what has just come
    writing     the thread that writes: many requests share one commit
    query       what people type -> what it asks
    attributes  which attributes there are, and where
    compiling   what is asked -> SQL
    resources   what was kept, read back
    searching   pages of rows, in a window, within a budget of time
    counting    facets
    pipelines   the overview
    executions  one execution and its chain
    recent      answers that were given a moment ago
    store       ``Store``: all of that for pages and routes
    pages       what people see
    http        bodies within bounds, errors in the intake's words
    api         what may be sent
    moments     times as people ask for them
    aggregating figures in groups, over time
    shape       a stored event as the API gives it back
    readback    listing, searching, aggregating
    guard       who may ask at all
    journals    journals read live
    relay       what came in, delivered to the real intake
    app         everything on one port
    server      sockets and connections
"""
