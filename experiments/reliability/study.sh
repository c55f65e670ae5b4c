python experiments/reliability/measure.py --data "$DEEPSAL_DATA"
