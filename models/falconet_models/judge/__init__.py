"""How good a detector is: figures, pictures, and a page of them."""
