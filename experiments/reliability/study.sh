python experiments/reliability/measure.py --data "${DEEPSAL_DATA:?the folder that holds osie/}"
