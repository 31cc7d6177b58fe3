"""The pages that people look at: HTML frames, styles and modules, with no build step and nothing from elsewhere."""
