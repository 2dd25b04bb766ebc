"""The command line: each file a noun; each verb parses, calls and prints."""
