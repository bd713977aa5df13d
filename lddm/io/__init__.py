"""Recordings as they come: videos, images and DICOM files are decoded; videos are written, marked as synthetic."""
