"""The door: argv in, exit status out. Only this package prints, and only it exits."""
