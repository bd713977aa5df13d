"""DICOM ultrasound: reading of cine loops and images, writing of synthetic loops."""
