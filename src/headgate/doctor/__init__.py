"""`headgate doctor`: reads a deployment, or looks at a running one, and says what is wrong with it."""
