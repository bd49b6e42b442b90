"""Why a network said that about this face."""
