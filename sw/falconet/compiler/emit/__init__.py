"""From tasks to instructions and the program file."""
