"""The first story: from a Request to the artefacts that it asks for."""
