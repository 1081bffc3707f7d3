"""What the engines share: loops and the output stage."""
