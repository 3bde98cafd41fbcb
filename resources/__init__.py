"""Files that ship with Holdfast: error words, icons, themes, samples, runbooks."""
