"""DICOM ultrasound: cine loops and images are read, synthetic loops are written."""
