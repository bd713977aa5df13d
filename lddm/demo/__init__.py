"""A local page that animates stills: the HTTP server, the jobs behind it, and the files that go in and out."""
