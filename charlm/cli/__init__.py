"""The command line: a module for each subject. A command parses, makes one call of `charlm.api`, and prints."""
