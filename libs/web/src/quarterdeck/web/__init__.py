"""What both HTTP services share: the server, who may come in, and how errors look.

The api and the broadcaster bring their routes; of commands and batches it knows only how the seeds word them.

    server.py       uvicorn inside a service's life
    gate.py         outermost ASGI layer: trace context, authentication
    tokens.py       bearer tokens → Principal; tickets.py: single-use tickets for EventSource
    operations.py   the one table of operations and the action that each requires
    problems.py     errors → RFC 9457 problem documents
    body.py         request bodies with a limit
    answers.py      responses at little cost; leaving.py and stalling.py: clients that go, clients that stop reading
    tasks.py        seed 4's statuses and bodies; fates.py: how an end is worded
    sockets.py      WebSockets: how one is refused, which close codes there are
    watch.py        which paths are watched; openapi.py: the document of all
    application.py  Litestar, put together from all of the above
"""
