"""From author sources in modules/ to notebooks in source/ and exported modules."""
