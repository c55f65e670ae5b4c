"""What a run leaves for people: pages, tables, figures, scores, where its numbers come from."""
