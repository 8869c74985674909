"""The closed loop as pure values: recipe, seeds, budget, the run's reducer and the planner that reads its state."""
