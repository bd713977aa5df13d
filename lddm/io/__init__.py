"""Reading of videos, images and DICOM files, and writing of videos marked as synthetic."""
