"""Text that goes between people and the program: YAML with its lines, secrets, the terminal.

In: files and values as people wrote them; names, tables and errors as the program has them.
Out: plain values that know where they stand; text that changes no terminal.
May import: nothing else of this project.
"""
