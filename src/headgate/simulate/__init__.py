"""Load before production: many clicking users against heavy jobs, on Headgate or any other server.

From Python, start at `headgate.simulate.api.run`; from a shell, at `headgate simulate`.
"""
