python experiments/planted/figure.py
python experiments/planted/rules.py --data "$DEEPSAL_DATA"
python experiments/planted/networks.py
