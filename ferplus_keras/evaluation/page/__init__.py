"""The parts of report.html: each module turns a part of a report into HTML."""
