"""What the library offers and the commands call: one function for each thing that a user does."""
