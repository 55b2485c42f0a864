"""How many sockets a server can open per second of processor time, asking the app about each."""
