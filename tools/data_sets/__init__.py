"""Annotated data sets of others, brought into the form that the configs read: COCO JSON beside pictures."""
