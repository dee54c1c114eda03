"""A stream on the disk: all that has to be remembered, in a file that is whole or refused; the last ones are kept."""
