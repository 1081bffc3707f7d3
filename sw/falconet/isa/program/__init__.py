"""The program file: container and header."""
