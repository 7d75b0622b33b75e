"""Tables and charts as data, and what draws and writes them: Markdown, matplotlib."""
