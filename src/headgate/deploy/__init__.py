"""`headgate deploy`: the whole deployment of an app on one server, as one reviewable folder."""
