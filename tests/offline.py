"""A command without any network: in an empty network namespace, with a record of the sockets of Python.

In such a namespace not even the loopback works, so that code outside Python can reach nothing either.
"""

import os
import shutil
import subprocess
from pathlib import Path

#: What makes a process live in an empty network namespace; empty where this is not permitted.
NAMESPACE = ["unshare", "-rn"] if shutil.which("unshare") else []
if NAMESPACE and subprocess.run([*NAMESPACE, "true"], capture_output=True).returncode:
    NAMESPACE = []

#: Python runs this file in every process before anything else. urllib3 asks once whether there is IPv6: it
#: binds a socket to ::1 without a port, and sends nothing.
_RECORD = """
import os, sys

def record(event, arguments):
    if event in ("socket.bind", "socket.connect", "socket.sendto"):
        address = arguments[1]
        if isinstance(address, (str, bytes)) or (event, address) == ("socket.bind", ("::1", 0)):
            return  # a Unix socket, or the question of urllib3
    elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
        address = arguments[0]
    else:
        return
    with open(os.environ["SOCKETS_OPENED"], "a") as file:
        file.write(f"{event} {address} in {sys.argv}\\n")

sys.addaudithook(record)
"""


def environment(folder: Path) -> dict[str, str]:
    """The environment in which Python records its sockets in folder/sockets.txt."""
    site = folder / "recorder"
    site.mkdir(exist_ok=True)
    (site / "sitecustomize.py").write_text(_RECORD)
    (folder / "sockets.txt").touch()
    path = os.pathsep.join(filter(None, (str(site), os.environ.get("PYTHONPATH"))))
    return {"PYTHONPATH": path, "SOCKETS_OPENED": str(folder / "sockets.txt")}
