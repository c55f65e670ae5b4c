python experiments/planted/figure.py
python experiments/planted/rules.py --data "${DEEPSAL_DATA:?the folder that holds osie/}"
python experiments/planted/networks.py
