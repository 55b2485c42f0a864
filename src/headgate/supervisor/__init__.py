"""The parent of all processes: starts, watches, replaces and reloads them; and `child`, its other end in each role.

The role processes import `headgate.supervisor.child` alone; the rest is the supervisor's own.
"""
