"""Local web page that animates stills: HTTP server, jobs, and conversion of uploads and downloads."""
