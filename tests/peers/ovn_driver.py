"""Runs Debian's ovn-docker-overlay-driver as it is installed, under Python 3.

The program was written for Python 2, whose pipes gave text, and listens on every address. Both are
mended from outside: nothing of the package is edited.
"""

import runpy
import subprocess
import sys

import flask

PROGRAM = "/usr/bin/ovn-docker-overlay-driver"


class Popen(subprocess.Popen):
    """Pipes of text, unless asked for otherwise."""

    def __init__(self, *args, **settings):
        settings.setdefault("text", True)
        super().__init__(*args, **settings)


def run_at_home(app, host=None, **settings):
    """Serves only the machine itself, whatever the program asks for."""
    del host
    run(app, host="127.0.0.1", **settings)


subprocess.Popen = Popen
run, flask.Flask.run = flask.Flask.run, run_at_home
sys.argv[0] = PROGRAM
runpy.run_path(PROGRAM, run_name="__main__")
