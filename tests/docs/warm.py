"""A process that has imported the package once and forks for each `virnucpro` or `python` that a page's commands start.

So that dozens of commands take the time of their work and not that of as many imports of torch. Arguments, directory,
environment and the three streams are those of the client, which stands on the PATH in place of the entry points.
"""

import json
import os
import runpy
import signal
import socket
import sys
import traceback
from pathlib import Path

CLIENT = f"""#!{sys.executable} -IS
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as server:
    server.connect(os.environ["WARM_SOCKET"])
    request = {{"argv": sys.argv, "cwd": os.getcwd(), "env": dict(os.environ)}}
    socket.send_fds(server, [json.dumps(request).encode()], [0, 1, 2])
    sys.exit(int(server.recv(8) or b"70"))
"""


def main(path: str) -> None:
    """Answer at the socket until the process is killed."""
    from virnucpro.environment import make_sums_reproducible

    make_sums_reproducible()
    import matplotlib.pyplot  # noqa: F401
    import torch  # noqa: F401

    import virnucpro.cli.main
    import virnucpro.report.write
    import virnucpro.run.forecast
    import virnucpro.run.run
    import virnucpro.run.scan
    import virnucpro.train.calibrate  # noqa: F401

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the children: each sends its own exit code
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{path}.tmp")
        listener.listen()
        Path(f"{path}.tmp").rename(path)
        while True:
            client = listener.accept()[0]
            if os.fork() == 0:
                _serve(client)
            client.close()


def _serve(client: socket.socket) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    message, streams, _, _ = socket.recv_fds(client, 1 << 16, 3)
    request = json.loads(message)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w", buffering=1)  # noqa: SIM115
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    program, *arguments = request["argv"]
    code = 0
    try:
        _run(Path(program).name, arguments)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 70
    sys.stdout.flush()
    sys.stderr.flush()
    client.send(b"%d" % code)
    os._exit(code)


def _run(program: str, arguments: list[str]) -> None:
    from virnucpro.cli.main import main as virnucpro_main

    sys.argv = [program, *arguments] if program == "virnucpro" else arguments
    if program == "virnucpro":
        virnucpro_main(arguments)
    else:
        runpy.run_path(arguments[0], run_name="__main__")


if __name__ == "__main__":
    main(sys.argv[1])
