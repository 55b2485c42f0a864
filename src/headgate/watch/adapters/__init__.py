"""How each kind of loop is made to stamp: hooked where it polls, or asked from outside where it has no hook."""
