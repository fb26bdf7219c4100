"""What pose-estimation is made of: families of models, skeletons, boxes, and people that a detector finds."""
