"""Back-projection of units without an image, after He & Pugeault 2018."""
