"""
Build wheel and sdist, and check that each installs, lists its command, serves, and uninstalls cleanly.

usage: python check_packages.py CHECKOUT WORKDIR   (needs the package ``build``)
"""

import ctypes
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import time
import venv
import zipfile
from pathlib import Path

PLUGIN = "twisted/plugins/echoactor_plugin.py"


def check(condition: object, what: str) -> None:
    if not condition:
        sys.exit(f"package check failed: {what}")


def run(*command: object, **more: object) -> str:
    """Run a command; its output."""
    result = subprocess.run(
        [str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **more
    )
    check(result.returncode == 0, f"{command} ended with {result.returncode}:\n{result.stdout}")
    return result.stdout


def lists_command(bin: Path, **more: object) -> bool:
    return re.search(r"^ +echoactor +Echo server", run(bin / "twistd", "--help", **more), re.M) is not None


def without_permission_override() -> None:
    """Make root respect read-only files, as everybody else does."""
    PR_CAPBSET_DROP, CAP_DAC_OVERRIDE = 24, 1
    ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, CAP_DAC_OVERRIDE)


def serves(bin: Path, directory: Path, **more: object) -> None:
    """Serve on a free port, echo, stop with status 0."""
    log = directory / "log"
    with log.open("w") as output:
        server = subprocess.Popen(
            [bin / "twistd", "-n", "echoactor", "--port", "0"],
            cwd=directory,
            stdout=output,
            stderr=output,
            **more,
        )
    try:
        for _ in range(200):
            port = re.search(r"listening on .*port=(\d+)", log.read_text())
            if port or server.poll() is not None:
                break
            time.sleep(0.05)
        check(port, f"the installed command does not listen:\n{log.read_text()}")
        with socket.create_connection(("127.0.0.1", int(port[1])), timeout=10) as client:
            client.sendall(b"hello")
            client.shutdown(socket.SHUT_WR)
            check(client.recv(5, socket.MSG_WAITALL) == b"hello", "no echo")
            check(client.recv(1) == b"", "no end after the echo")
        server.send_signal(signal.SIGTERM)
        check(server.wait(20) == 0, f"status {server.returncode} after SIGTERM")
        check("Traceback" not in log.read_text(), f"a traceback:\n{log.read_text()}")
    finally:
        server.kill()


def main(checkout: Path, work: Path) -> None:
    run(sys.executable, "-m", "build", "--outdir", work / "dist", checkout)
    [wheel], [sdist] = (work / "dist").glob("*.whl"), (work / "dist").glob("*.tar.gz")
    wheel_names = zipfile.ZipFile(wheel).namelist()
    with tarfile.open(sdist) as archive:
        sdist_names = [name.partition("/")[2] for name in archive.getnames()]
    for names, what in ((wheel_names, "wheel"), (sdist_names, "sdist")):
        check(PLUGIN in names, f"the {what} lacks the plugin")
        check("echoactor/py.typed" in names, f"the {what} lacks py.typed")
        for name in ("twisted/__init__.py", "twisted/plugins/__init__.py", "twisted/plugins/dropin.cache"):
            check(name not in names, f"the {what} carries {name}")
    check(not any(name.startswith("tests") for name in wheel_names), "the wheel carries the tests")
    check("tests/test_echo.py" in sdist_names, "the sdist lacks the tests")

    for what, arguments in (
        ("wheel", [wheel]),
        ("sdist", [sdist]),
        ("editable", ["--editable", checkout]),
    ):
        home = work / f"install-{what}"
        venv.create(home / "venv", with_pip=True)
        bin = home / "venv" / "bin"
        run(bin / "pip", "install", "--quiet", *arguments)
        check(lists_command(bin, cwd=home), f"twistd --help does not list the command ({what})")
        serves(bin, home)
        if what == "wheel":
            run("chmod", "-R", "a-w", home / "venv")
            read_only = {"cwd": home, "preexec_fn": without_permission_override}
            probe = home / "venv" / "probe"
            unwritable = subprocess.run(["touch", probe], stderr=subprocess.DEVNULL, **read_only)
            check(unwritable.returncode != 0, "the read-only installation can be written to")
            output = run(bin / "twistd", "--help", **read_only)
            check("cache" not in output, f"a read-only installation complains:\n{output}")
            serves(bin, home, preexec_fn=without_permission_override)
            run("chmod", "-R", "u+w", home / "venv")
        run(bin / "pip", "uninstall", "--quiet", "--yes", "echoactor")
        check(not lists_command(bin, cwd=home), f"twistd --help lists the command after uninstall ({what})")
        print(f"package check: {what} installs, serves, uninstalls")
        shutil.rmtree(home)


if __name__ == "__main__":
    os.environ["PYTHONDONTWRITEBYTECODE"] = ""
    main(Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve())
