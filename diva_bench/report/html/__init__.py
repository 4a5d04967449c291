"""The report page: stored runs as a static site with samples, sound and comparisons, and a server that shows it.

`samples` reads runs into columns, `content` makes what each page shows, `site` writes pages, `server` serves them.
"""
