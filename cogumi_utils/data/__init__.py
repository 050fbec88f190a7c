"""Where `Example` rows come from and how clean they are."""
