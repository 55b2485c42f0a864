"""The local engine itself: its state in SQLite, and the desk that serves it.

The broker process puts it behind a Unix socket with a file on disk; `drivers.memory` uses it in process with
nothing on disk. One implementation, so that the fake cannot differ from what it stands for.
"""
