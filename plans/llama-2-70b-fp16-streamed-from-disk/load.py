# CUDA_DEVICE_ORDER=PCI_BUS_ID CUDA_VISIBLE_DEVICES=0,1 python load.py
import json, torch; from transformers import AutoModelForCausalLM
device_map = json.load(open("device_map.json"))
model = AutoModelForCausalLM.from_pretrained("llama-2-70b", device_map=device_map, dtype=torch.float16, offload_folder="offload")
