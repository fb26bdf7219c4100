"""Objects of a picture in the forms of other tools: COCO, YOLO, Label Studio, supervision, polygons."""
