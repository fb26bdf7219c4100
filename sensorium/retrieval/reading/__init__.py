"""From documents to passages: formats, rows of files, headings, sentences, and where a text is cut."""
