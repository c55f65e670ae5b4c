"""What a run leaves for people: scores, tables, where its numbers come from."""
