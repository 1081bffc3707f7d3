"""What the machine is asked to do: operations and their tiles."""
